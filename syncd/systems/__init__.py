"""What belongs to one system alone: its codes, its cleaning, its transforms. All of it is pure."""
