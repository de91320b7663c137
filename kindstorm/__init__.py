"""The public face of kindstorm."""
