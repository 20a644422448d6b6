"""`exd-dagster drill`: plant a fault in a copy of the records and see when it is found."""
