"""Tables that others measured: CSV files of our operators, and tables whose keys are their own."""
