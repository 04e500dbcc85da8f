"""Begin and end of a run: seal what is asked, conclude what came of it."""
