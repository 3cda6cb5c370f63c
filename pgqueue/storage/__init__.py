"""Operations on the database, and the drivers that run them."""
