"""What can be wrong with a store.

| rule | what must hold |
| --- | --- |
| unreadable | what is stored in the place of an event is one |
| contiguity | the events of a stream are numbered without a gap, and so are their rows |
| payload | an event says what its type can say, in as many rows as are recorded |
| content hash, record hash | an event is the one that was appended |
| start | a stream begins with what tells what it is: a workflow, a phase, or bars |
| cause | the event that led to another one is in the log |
| feed | the bars that a phase reads are in the log, all of them, under the name of their content |
| phase | a completed phase ends with its output, and as its workflow says |
| workflow | a workflow is complete only after all of its phases |
| container | containers are numbered in order, and all that happened in one belongs to a trial |
| bar | what happened in a container happened inside of its bars, in order |
| order | an order that was placed has one outcome, and an outcome has an order |
| metrics | the metrics of a container follow from its fills and bars, to the last bit |
| output | what a phase hands on is a trial that is there, and the best one |
| read models | the read models say what the log says |
"""

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """Something that is not as it was written.

    Attributes
    ----------
    address
        Where it was found: ``stream#n``, or a read model and its row.
    rule
        The rule that is broken.
    message
        What was expected and what was found.
    """

    address: str
    rule: str
    message: str
