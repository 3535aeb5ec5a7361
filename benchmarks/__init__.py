"""Speed and memory beside other ways of doing the same; run by `make bench`. No figure of these is ever asserted."""
