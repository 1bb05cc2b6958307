"""What looks on while a network trains: loggers, progress, system measurements, inspection."""
