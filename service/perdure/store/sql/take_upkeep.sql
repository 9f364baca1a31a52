-- Whether this process does the upkeep of this minute: see the function.
select perdure.take_upkeep()
