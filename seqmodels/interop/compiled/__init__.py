"""Steps of generation by torch's compiler, as machine code kept between processes."""
