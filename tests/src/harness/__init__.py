"""What the Python tiers share: processes, data, installs. It never asserts anything."""
