"""Shared by operators and pool: serialised delivery and the demand of what lies downstream."""
