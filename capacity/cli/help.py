"""What `capacity --help` and `capacity VERB --help` say, at 80 columns."""

MAIN_HELP = """\
How much can a language model know? Train families of small GPTs on data of
known entropy, measure the bits that each one holds, and fit a law.

examples:
  capacity sweep pocket --dry-run          the cost of the pocket study
  capacity sweep pocket                    run it, or continue it
  capacity fit-laws pocket                 the law, its interval, the figure
  capacity fit chinchilla points.csv --y loss    any form, any table
  capacity train model.d_model=32 train.steps=5000
"""
TRAIN_HELP = """\
Train one model, measure it, write its record to RESULTS/runs/<run_id>/.
A finished run is not trained twice; an interrupted one continues exactly.

examples:
  capacity train                                    the default run
  capacity train model.d_model=16 data.load=4.8     4.8 bits per parameter
  capacity train model=rotary data.n_sequences=300 train.exposures=1000
  capacity train train.precision=bf16 cluster.device=cuda
  capacity train data=bios_pocket model=pocket train=pocket_bios
  capacity train --print-config seed=3              the resolved settings only
"""
SWEEP_HELP = """\
Train the unfinished runs of a study, here or in a queue. Issue the same
command again to continue after Ctrl-C, a crash or a kill; finished, queued and
running runs are never repeated. STUDY is a path below sweeps/ without
.yaml, or a path to any YAML file.

examples:
  capacity sweep pocket --dry-run
  capacity sweep pocket cluster.workers=4
  capacity sweep pocket train.steps=500           the same study, cheaper
  capacity sweep pocket cluster=slurm             submit an array job
  capacity sweep pocket --retry-failed
"""
SHOW_HELP = """\
Show one run, whatever its state: settings that differ from the defaults and the
command that trains it again, learning curve, measures with unit and meaning, or
the reason of its failure, and its files. RUN is an id, or the beginning of one
that no other run of the results folder has.

examples:
  capacity show 3f2a90c1d4e5
  capacity show 3f2a
"""
DATA_HELP = """\
Show what `capacity train` with these settings trains on: bits by attribute,
vocabulary, tokens, and three samples with the places of their values marked.

--output writes all of it. People are written as data=corpus reads them:
values, texts with places, the first question of each kind, split, and of how
many values each was drawn, so that the bits are the same when the file is read
(the command is printed). FILE.about.json has settings, seed and digest.

examples:
  capacity data data=bios_pocket
  capacity data data=bios_pocket data.n_people=100 --output people.jsonl
  capacity data data=corpus data.path=people.jsonl
  capacity data data=text_pocket
"""
PRUNE_HELP = """\
Remove final weights or checkpoints of a study's runs; records stay, so that
laws are fitted as before. What goes is listed with its size and asked for.
Runs that are running or queued stay, and so do those that another study of the
results folder has as well, unless that is named, too. What lacks a removed
file says so: a run that begins again, measure, export.

examples:
  capacity prune pocket --weights
  capacity prune pocket pocket_budget --weights    also runs that both have
  capacity prune pocket train.steps=500 --checkpoints --yes
"""
CANCEL_HELP = """\
Remove queued and running elements of a study from the queue, or stop its sweep
on this machine. Finished runs stay, others keep their checkpoints.
"""
RETRY_HELP = """\
Rerun runs of a study that failed or were lost with their job, by the settings
of the last sweep. Runs that ran out of time or memory get more of it.

examples:
  capacity retry pocket --failed
  capacity retry pocket --failed cluster.mem=32G
"""
STATUS_HELP = """\
Show which runs of a study are finished, running, queued, interrupted, failed
or missing, from its records and the queue. Exit code 0 if every run is
finished, else 1.

examples:
  capacity status pocket
  capacity status pocket --watch
  capacity status pocket --json
"""
COMPLETION_HELP = """\
Print a script that completes verbs, options, studies and their presets,
settings and their choices, and ids of runs when tab is pressed.

examples:
  capacity completion bash > ~/.local/share/bash-completion/completions/capacity
  capacity completion zsh > "${fpath[1]}/_capacity"
  capacity completion fish > ~/.config/fish/completions/capacity.fish
  eval "$(capacity completion bash)"              in this shell only
"""
NEW_HELP = """\
Write a study of your own, commented entry by entry, from one that there is: its
question, pins and grids as they are, to be changed line by line. Plans the same
runs until it is changed. An existing file is never overwritten.

examples:
  capacity new mine.yaml --like pocket
  capacity new sweeps/mine.yaml --like physics33/06_architectures_100@pocket
  capacity sweep --show mine.yaml
"""
SCHEMA_HELP = """\
Print the JSON Schema of study files: entries, settings with their limits,
choices and meanings, so that an editor completes and checks them. With the
YAML extension of an editor, the first line of a study says where it is:

  # yaml-language-server: $schema=study.schema.json

examples:
  capacity schema > study.schema.json
"""
LIST_HELP = """\
Show what there is: the studies to sweep with their questions, runs with their
state, settings with default, limits and meaning, forms of laws, measures.

examples:
  capacity list studies                    every study and what it asks
  capacity list studies pocket             also what is finished, and the cost of the rest
  capacity list runs                       all runs in the results folder
  capacity list runs optimizers            those of a study
  capacity list settings model             what model.* can be
  capacity list settings train.lr
  capacity list forms
  capacity list measures knowledge --csv
"""
FIT_HELP = """\
Fit the law of a study from its records alone and write the fit (JSON), the
tables (CSV) and the figure (PNG, PDF) to RESULTS/studies/STUDY/.

--freeze keeps the records there too, as records.jsonl.gz, and of text what
attacks read of single sequences, as scores.safetensors.gz. fit-laws, report,
compare and table then need no run folders; a record in a run folder takes
precedence over a kept one. Sweeps ignore kept records.

examples:
  capacity fit-laws pocket
  capacity fit-laws pocket --freeze
  capacity fit-laws pocket --results /shared/results
"""
REPORT_HELP = """\
Write one HTML page about a study, from its records alone: question, answer,
figures to zoom into, table of runs, flags, fits, published values, commands
and versions. It needs no network, so it can be mailed. The law is fitted and
its files are written as by fit-laws, with a figure of the fits' errors; a study
without a law gets a page that states the reason.

examples:
  capacity report pocket
  capacity report pocket train.steps=500      of the sweep with this setting
  capacity report pocket --output pocket.html
"""
COMPARE_HELP = """\
Does A store more than B? Runs that are equal in size, seed, data, exposures
and all else become pairs; an exact test and an interval show whether A and B
differ, and which difference so many pairs could have detected. Of random data:
strict bits per parameter on plateaus; of people: R; else --value. Without
--a and --b: what the study varies. Writes compare.json beside the fit.

examples:
  capacity compare optimizers --a train.optimizer=muon --b train.optimizer=adamw
  capacity compare physics33/06_architectures_100@pocket \\
    --a architecture=LLaMA --b architecture=GPT2 --b 'architecture=GPT2 1/4'
  capacity compare STUDY --a model.mlp=gated --b model.mlp=standard \\
    --value accuracy
"""
FIT_TABLE_HELP = """\
Fit any form to any table of points, yours or a paper's: values with 95%
intervals over clusters, held-out scales, other losses, warnings; several forms
are compared. `capacity fit --list` describes the forms. What points cannot tell
has no interval, and rows that decide a parameter alone are named. How a table
had to be read is told on stderr.

examples:
  capacity fit --list chinchilla
  capacity fit chinchilla losses.csv --y loss --x parameters=N --x tokens=D \\
    --delta 1e-3 --at parameters=7e10,tokens=1.4e12
  capacity fit chinchilla sweep.tsv.gz --y loss --x parameters=1e6*size \\
    --x tokens=C/6e6/size --best-per size,C --tie alpha=beta
  capacity fit hard_corner,smooth_corner results/studies/pocket/runs.csv \\
    --y strict_bits --x parameters=parameters_total \\
    --x ceiling_bits=strict_ceiling_bits --cluster model --output corner.json
"""
MEASURE_HELP = """\
Measure finished runs again from their final weights, without training: by
their own settings, or by others of measure, extraction and quantize. With
--study, by the settings of the study now. Rows of quantization are added.

examples:
  capacity measure 3f2a90c1d4e5
  capacity measure 3f2a90c1d4e5 quantize=row
  capacity measure 3f2a90c1d4e5 quantize.methods=[rtn] quantize.bits=[4,3]
  capacity measure --study pocket quantize=row quantize.embeddings=[true]
"""
AUDIT_HELP = """\
What does a model remember of your documents, whose are they, and who could find
out? Compares documents that it may have been trained on with others of the same
source: first without a model, then by the scores of membership inference,
memorized bits, extraction, canaries; by document and by group. Files are jsonl,
txt, csv, parquet. Prints the plan first; the same command goes on after Ctrl-C.

Writes a page, tables and numbers. "No evidence" is not "safe", and where the
files differ without a model there is no verdict. No code of a model is run and
nothing is unpickled. Needs: pip install 'capacity[audit]'

examples:
  capacity audit ./model --members seen.jsonl --others unseen.jsonl
  capacity audit ./model --members seen.jsonl --others unseen.jsonl \\
    --group person --document id --reference ./base --training-tokens 1e9
  capacity audit gpt2 --members a.txt --others b.txt --tokens 64K --dry-run
  capacity audit 3f2a90c1d4e5 --members data/members.jsonl \\
    --others data/others.jsonl --canaries data/canaries.jsonl
"""
COMPRESSION_HELP = """\
How well do models compress, for what they cost and for what they know? Over the
finished runs of studies: Information Capacity (bits taken off per token over
log2 of FLOPs, arXiv 2511.08066) and whether it is one number over sizes; code
length beside answers of runs on people (Pearson's r, and which forms answer
more than their code length says, arXiv 2404.09937); bits per parameter or per
stored bit over those of a reference (density, arXiv 2412.04315). Writes a page,
tables and figures.

With --text: bits per token, byte and character of one checkpoint on a text, and
its Information Capacity, with intervals over documents. No code of a model is
run and nothing is unpickled. Needs: pip install 'capacity[audit]'

examples:
  capacity compression
  capacity compression pocket morris/membership@pocket
  capacity compression ./model --text held_out.jsonl
  capacity compression 3f2a90c1d4e5 --text data/others.jsonl --window 32
"""
CERTIFY_HELP = """\
A file that proves what a run holds: its weights and a code from which the data
that it was trained on come back exactly, in their order or as a set. Claimed
bits are the data's entropy less the size of the code. What is printed was
restored from the files first. Data: random tokens; values of people given their
names, as a set people with their names, and whole texts of fixed wording;
canaries; and text beside a run that has not seen it.

The code decodes on every machine: the forward pass is computed in operations
whose bits IEEE 754 fixes. A changed file is refused with the block that changed.

examples:
  capacity certify 3f2a90c1d4e5 --output certificate
  capacity certify --restore certificate --output data.jsonl
  capacity certify 3f2a90c1d4e5 --set --output certificate-of-the-set --json
  capacity certify 3f2a90c1d4e5 --texts --set --output of-whole-texts
  capacity certify 3f2a90c1d4e5 --reference 90c1d4e53f2a --output of-the-text
"""
TABLE_HELP = """\
All runs of studies, or of the results folder, as one tidy table: one row per
run with its settings, parameter counts and all measured numbers. A cell is
empty (CSV) or null (Parquet) where a number was not measured, a run is not
finished, or a setting is empty or belongs to another kind of data.

examples:
  capacity table pocket                             CSV to the terminal
  capacity table --output runs.csv                  all runs in results
  capacity table pocket morris/uniform_bf16 --output runs.parquet
  capacity table pocket --quantized --output quantized.csv
  capacity table pocket --columns                   what each column means
"""
EXPORT_HELP = """\
Write a trained model to a folder that Hugging Face's transformers loads with
AutoModelForCausalLM and AutoTokenizer: GPT-2, GPT-NeoX, LLaMA or Mistral form,
logits equal to rounding, with a README. Models without such a form are
refused. --data writes what a run of text is scored on, as `capacity audit`
reads it.

examples:
  capacity export 3f2a90c1d4e5 --output model
  capacity export 3f2a90c1d4e5 --output model --data texts
"""
SIZE_HELP = """\
How large a model do these facts need? Bits of a file of people over the bits
that a parameter holds: parameters, weights, tokens and GPU-hours, by what is
published and by studies here, over exposures, formats and junk, each with its
range. The inverse with --parameters. Nothing is trained.

examples:
  capacity size people.jsonl
  capacity size people.jsonl --exposures 1000 --quantize int8 --junk 7/8
  capacity size people.jsonl data.n_names=1000000 --parameters 7e9
  capacity size data=bios data.n_people=1000000
  capacity size --bits 3e10 --tokens 2e10
"""
PLAN_HELP = """\
Which runs would give an interval of a wanted width, for a budget? STUDY is the
space to choose from: its models, data sizes, exposures, formats (train.qat, for
laws of precision), and seeds beyond its own. Simulated studies predict the
interval; finished runs are reused, so the same command after each batch shows
whether to go on. Nothing is trained: --write gives a study file for
`capacity sweep`. Exit code 1 if the budget cannot buy the width.

examples:
  capacity plan design --form capacity_linear --parameter alpha --width 0.1 \\
    --budget-hours 0.5 --write sweeps/mine.yaml
  capacity plan design --form capacity_power --parameter gamma --width 0.1 \\
    --budget-hours 1 --prior results/studies/pocket/fit.json
  capacity plan design@ladder --form precision_storage --parameter s \\
    --width 0.2 --budget-hours 0.2 --write sweeps/mine.yaml
  capacity plan physics33/04_peak_100@pocket --only 2x16 --parameter r_inf \\
    --form exposure_exponential --width 0.1 --budget-hours 0.2
"""
