"""The OAuth 2 authorization server: clients, and what they are given."""
