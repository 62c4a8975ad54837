"""Floor 3: do the files agree?"""
