"""Floor 4: is each small mistake caught?"""
