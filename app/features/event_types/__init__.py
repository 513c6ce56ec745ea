"""The kinds of event that an organisation sends."""
