"""Portal tokens over the API: how an application's own users get in, and out."""
