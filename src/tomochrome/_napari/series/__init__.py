"""Opening of scans: the reader, sample patients, the list of series and the Scan panel."""
