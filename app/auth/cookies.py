"""What the cookie of a session is called, for whoever must know it without asking whose it is."""

SESSION = "__Host-postrider_session"
