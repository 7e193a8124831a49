"""A small casebook moves: deletes, conflicts and refused rows, one after the other."""
