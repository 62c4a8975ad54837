"""Floor 5: is each small mistake caught?"""
