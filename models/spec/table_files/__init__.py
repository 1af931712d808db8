"""Tables on file: CSV, JSON, Parquet, Arrow and NumPy, each with the complete table, bit for bit.

numpy and pyarrow are imported when a format that needs them is used (the extra `tables`).
"""

from models.spec.table_files.columns import TableColumns, read_columns
from models.spec.table_files.table_io import TableFormat, from_bytes, read_table, table_etag, to_bytes, write_table

__all__ = ["TableColumns", "TableFormat", "from_bytes", "read_columns", "read_table", "table_etag", "to_bytes", "write_table"]
