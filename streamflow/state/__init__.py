"""Stores of tasks behind one port; the only package that imports rocksdict."""
