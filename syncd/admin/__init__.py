"""The HTTP listener: pages that anybody may read, and the API that decides and asks for work."""
