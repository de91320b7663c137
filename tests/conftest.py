"""For all tests: an example may take as long as this machine takes; how long it took says nothing of the code."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
