"""What the stage check finds before any other stage runs: names and files in params.yaml that do not exist."""
