"""Reading more files than anybody watches: by worker processes, or by a cluster of Ray."""

from gtnet.reader.bulk.job import Job as Job
