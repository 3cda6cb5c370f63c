"""The version of this package, as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("pgqueue")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "unknown"
