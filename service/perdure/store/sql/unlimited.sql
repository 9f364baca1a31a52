-- Lifts the bound on a statement for this transaction: a COPY takes as long as its rows do.
select set_config('statement_timeout', '0', true)
