"""Pets: Oxford-IIIT Pet from its owner's files, and generated animals."""
