"""Tables: CSV, TSV and Parquet files of any shape as training data."""
