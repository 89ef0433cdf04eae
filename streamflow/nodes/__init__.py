"""Node kinds, one file each, and the core operators they lower to."""
