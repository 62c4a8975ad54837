"""Plays WhatsApp for the demo and the tests: sends Evolution's webhook events, and receives the replies."""
