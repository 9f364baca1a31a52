-- One admission per statement, whatever it is: INSERT, COPY, or a function of ours.
create trigger admit after insert on perdure.tasks
    referencing new table as added for each statement execute function perdure.admit();
