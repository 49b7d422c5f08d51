"""The panel "Restore": defects of a scan are found, painted, filled and compared."""
