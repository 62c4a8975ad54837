"""Floor 3, drills: the real fault in the running stack, until its alert has fired, was notified and is gone again."""
