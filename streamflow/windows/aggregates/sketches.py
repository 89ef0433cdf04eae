"""The door of Apache DataSketches and numpy, which take 0.1 s to load.

An aggregate that may need a sketch loads them when it is declared, so that no event waits.
"""

from streamflow.model.late_import import LateImport

datasketches = LateImport("datasketches")
numpy = LateImport("numpy")
