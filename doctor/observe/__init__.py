"""What was seen: each module asks one kind of thing and raises nothing, an answer that did not come is data too."""
