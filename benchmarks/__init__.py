"""What networks cost, by clocks and by compilers for chips that are not there."""
