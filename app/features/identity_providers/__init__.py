"""Identity providers that organisations bring: how they are set up, and how people sign in at them."""
