"""The test driver for users and for ourselves."""
