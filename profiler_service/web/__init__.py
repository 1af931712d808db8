"""The pages: what the service does and what its tables are worth, for people who look rather than read JSON."""
