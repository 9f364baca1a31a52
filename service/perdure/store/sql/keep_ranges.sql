-- Makes ranges ahead and moves the sequence once a day: see the function.
select perdure.keep_ranges()
