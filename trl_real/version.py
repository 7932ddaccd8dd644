"""The version, which the project file reads too."""

__version__ = "0.1.0"
