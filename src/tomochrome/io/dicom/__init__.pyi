from .dicom_write import write_series

__all__ = ["write_series"]
