"""The version, which the project file reads too."""

__version__ = "0.2.0"
