"""Why a cell cannot be run on this machine."""


class Missing(Exception):
    """Something that the cell needs cannot be had here. Says what."""
