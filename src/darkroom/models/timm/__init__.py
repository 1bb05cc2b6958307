"""Networks of timm, with weights from the installation, the cache or the hub."""
