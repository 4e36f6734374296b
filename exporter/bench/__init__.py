"""What it takes to say which of several artifacts is faster: fair turns, an interval, and a look into each."""
