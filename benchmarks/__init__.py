"""What whence is measured by: speed, memory, accuracy, completeness, agreement with Captum. See ``__main__``."""
