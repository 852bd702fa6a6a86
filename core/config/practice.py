"""What each key does in practice: what becomes better or worse with it, in a sentence or two.

The description of a field says what it is; here stands why one would change it. A test holds both lists together.
"""

from __future__ import annotations

# Of a judge, wherever one is configured.
_JUDGE = {
    "kind": "A model here costs time on this machine and nothing else; a reward model is the fastest and knows only"
    " what its pairs taught it; an endpoint may be the best judge, and your data leaves this machine.",
    "model": "A judge that was tuned to follow instructions is worth far more than a larger base model, which mostly"
    " prefers a position. It should not be the model whose answers it judges: models like their own style.",
    "trust_remote_code": "Code of the model's author runs with your rights. Models that mlx-lm knows need none of it.",
    "ask": "Comparing two is easier to judge than giving marks, and costs two questions a pair, because both orders"
    " are asked. Scores cost one question a response and give many ties.",
    "verdict": "Likelihood reads the verdict off in one forward pass: many times faster, and small models that cannot"
    " keep to a form can do it. Text lets a strong judge reason before it decides.",
    "average_orders": "Small models often prefer whichever answer comes first. Averaging takes that out and leaves"
    " fewer ties; without it such pairs count as undecided, which is the more careful reading.",
    "rubric_file": "The judge rewards what the rubric names: if it praises thoroughness, DPO learns to be long. Change"
    " it and judge anew; verdicts of different rubrics cannot be compared.",
    "apply_chat_template": "Chat models judge poorly when asked without their template. Turn it off only for a base"
    " model.",
    "max_tokens": "Too few cut the judge off before its verdict, and the comparison is lost; each token costs time."
    " With verdict: likelihood nothing is written.",
    "max_input_tokens": "Longer questions are left out, so that a low number biases the pairs towards short answers."
    " Memory grows with it.",
    "batch_size": "More questions at a time are faster until memory is full; verdicts do not change.",
    "base_url": "Prompts and responses are sent there. Over plain http only this machine can be asked.",
    "api_key_env": "Set the variable in the shell that starts dpotui. A key written into this file would end up in"
    " every snapshot of a run, so it is refused.",
    "timeout_seconds": "Too short and slow answers are asked for again and paid for twice.",
    "retries": "Waits grow between them. With 0 one lost connection loses the verdict; the run can be resumed.",
    "requests_per_minute": "Keep it below what the server allows: requests that it refuses count against this limit"
    " too.",
    "concurrency": "More requests at a time are faster until the limit a minute is reached; a local server may get"
    " slower.",
}

_TEMPLATE_OFF = (
    "Must be the same in SFT, generation and DPO: a model that learned with its template answers worse without it."
)
_SEED = "The same seed, data and machine give the same run; another seed shows how much of a result is chance."
_TRUST = "Code of the model's author runs with your rights. Models that mlx-lm knows need none of it."

PRACTICE: dict[str, str] = {
    # Models
    "model.base_model": "Size decides memory and time more than anything else here; quantized models (4 bit) hold"
    " their weights in about a third of the memory. All stages of one experiment belong to the same model.",
    "generate:model.base_model": "Preference pairs work best when the model that DPO will train wrote them: pairs of"
    " another model teach less, and KL grows sooner.",
    "dpo:model.base_model": "Said for the record and for merging; what is trained is policy_model.",
    "model.checkpoint": "Later stages name this folder. A finished run replaces what stands there, so give experiments"
    " that you want to keep folders of their own.",
    "model.trust_remote_code": _TRUST,
    "model.dequantize": "The fused model takes up to four times the disk and loses nothing to rounding; quantizing"
    " again can undo a little of what was learned.",
    "model.reference_model": "KL is measured against it and the loss holds the policy to it. It should be the model"
    " that went through SFT: against a base model the policy starts far away, and the margins mean little.",
    "model.policy_model": "Start it where the reference stands: initial KL is then exactly 0, and with LoRA both share"
    " one copy of the weights in memory. Another model here needs a second copy.",
    "model.final": "The adapter or model whose numbers the final gates and the report speak of.",
    "model.baseline": "Retention and win rate are measured against it: name the SFT checkpoint, not the base model, or"
    " DPO is credited with what SFT did.",
    "model.base": "Costs the time of its samples; it shows what SFT changed, beside what DPO changed.",
    # Data
    "data.train_file": "Quality beats number: a thousand clean pairs with a clear gap teach more than ten thousand"
    " noisy ones. Check it first with 'dpotui data check'.",
    "data.validation_file": "Best checkpoint, early stopping and several gates rest on it. Rows that are also trained"
    " on make every number look better than it is.",
    "data.max_prompt_length": "Memory of a step grows with the longest row. Prompts that are cut lose their beginning,"
    " often the instruction: look at the lengths before lowering it.",
    "generate:data.max_prompt_length": "Prompts above it get no responses. Memory grows with it, through the keys and"
    " values of every prompt that is decoded at a time.",
    "data.max_response_length": "The strongest lever on memory and time: half of it takes about half of the"
    " activations. Responses that are cut teach the model not to end.",
    "reward:data.max_response_length": "Pairs above it are left out, so that a low number trains the judge on short"
    " answers alone. Memory and time grow with it.",
    "data.apply_chat_template": _TEMPLATE_OFF,
    "data.prompts_file": "Responses are only as varied as the prompts: they should be those the model will get. Keep"
    " benchmark questions out, or the benchmarks mean nothing later.",
    "data.output_file": "Written whole at the end of the run, in the place of what was there.",
    "data.limit": "For a trial: time goes with it, and the first prompts of a sorted file are not typical.",
    "data.input_file": "Candidates with several responses to a prompt give many comparisons; pairs are judged anew one"
    " by one.",
    # Training
    "training.learning_rate": "Too high and the loss jumps, KL runs away and answers degrade; too low and nothing"
    " changes in max_steps. LoRA wants 1e-5 to 1e-4 (SFT up to 2e-4), all weights ten times less.",
    "dpo:training.learning_rate": "DPO is touchy: with LoRA begin at 5e-6 to 5e-5, with all weights at 5e-7 to 1e-6."
    " If KL passes its limit early, halve it before you touch beta.",
    "training.batch_size": "Memory grows with it almost in proportion, speed until the GPU is busy. The optimizer sees"
    " batch_size x gradient_accumulation_steps: halve one and double the other, and only speed changes.",
    "training.batch_tokens": "Steady memory where lengths differ much: short rows go many at a time, long ones few."
    " The number of pairs in a step then varies.",
    "training.gradient_accumulation_steps": "A larger effective batch for no more memory; a step takes that many times"
    " as long. More than 32 pairs a step seldom helps DPO.",
    "training.max_steps": "Time goes with it. One to three passes over the pairs are usual in DPO (pairs / effective"
    " batch = one pass); more mostly raises KL.",
    "training.warmup_steps": "About a tenth of max_steps is usual. Without it the first steps, when the optimizer"
    " knows nothing yet, can throw the model off.",
    "training.logging_steps": "Finer curves for next to no cost; 1 shows every step.",
    "training.eval_steps": "Each evaluation takes a pass over eval_pairs. Rarer ones leave fewer checkpoints to choose"
    " from, and the KL guard sees trouble later.",
    "training.save_steps": "What is lost when the machine goes off. Each checkpoint also holds the optimizer: twice"
    " the adapter with AdamW, or gigabytes when every weight is trained.",
    "training.seed": _SEED,
    "training.eval_pairs": "More makes the curves calmer and each evaluation longer: with 256 pairs an accuracy is"
    " good to about 6 points.",
    "training.early_stopping_patience": "3 to 5 saves time where a run overfits. 0 always trains to max_steps; the"
    " best checkpoint is kept either way.",
    "training.save_total_limit": "Disk against the choice to go back. The best checkpoint is kept beside them.",
    "training.packing": "Several times faster where examples are much shorter than the limit. Steps see more examples,"
    " so fewer of them are needed.",
    "training.center_rewards_coefficient": "0.01 keeps scores around 0, so that those of different prompts can be"
    " compared; accuracy hardly changes. Larger weights cost accuracy.",
    "training.margin": "With margins a pair that is clearly apart has to end up further apart. Only as good as the"
    " scores they come from; with none every pair counts the same.",
    "training.margin_scale": "A margin of 1 already asks for a reward difference of 1 beyond the usual. Scores from 1"
    " to 10 taken as they are (1) push rewards apart without end: try 0.1.",
    "training.scored_pairs": "The gates of stage 4 rest on these: 1000 pairs give the accuracy to about 3 points."
    " Costs one pass without gradient at the end.",
    "training.sample_prompts": "Shows in words what the curves cannot: loops, emptiness, flattery. Each prompt"
    " lengthens every evaluation by as long as its answer takes to write; 0 saves that.",
    "training.sample_max_tokens": "Enough to see how an answer begins; time of each evaluation grows with it.",
    "training.beta": "Up: closer to the reference, smaller KL, less change. Down: more change, larger gap, and more"
    " risk of degraded answers. 0.1 is usual, 0.01 to 0.5 are worth trying.",
    "training.beta_schedule": "A beta that rises lets the model move first and holds it later; constant is what"
    " published results mean.",
    "training.beta_end": "Above beta it tightens the leash during the run, below it loosens it.",
    "training.loss_type": "sigmoid is DPO and the place to start. ipo overfits less on clean data, cdpo and robust"
    " stand wrong labels, apo_zero and sft keep chosen answers likely. Changing it asks for other beta and rates.",
    "training.loss_weights": "sigmoid with a little sft (0.1 to 0.3) keeps the chosen answers from becoming less"
    " likely, a common trouble of DPO.",
    "training.label_smoothing": "About the share of pairs you believe to be the wrong way round, often 0.05 to 0.2."
    " Too much and the model learns little.",
    "training.f_divergence_type": "reverse_kl is DPO and makes answers surer; forward_kl and js_divergence keep them"
    " more varied, at a smaller gap.",
    "training.f_alpha_divergence_coef": "Only alpha_divergence reads it. Leave it unless a paper that you follow names"
    " another one.",
    "training.discopop_tau": "Smaller turns sooner between the two losses; the value of the paper is 0.05.",
    "training.reference_free": "Saves the reference's passes, and takes the leash off: KL can grow quickly. Watch it.",
    "training.ld_alpha": "Below 1 the model is rewarded less for being longer. Try 0.5 when answers grow in length"
    " without growing in quality.",
    "training.use_weighting": "Pairs that another model wrote count less, which brings data that is not the model's"
    " own nearer to it. The steps become smaller with them.",
    "training.kl_samples": "More make the interval of the final KL narrower, at the cost of sampling them; 32 answers"
    " of 128 tokens are about 4000 measured tokens.",
    "training.kl_max_tokens": "Drift often shows late in an answer: longer responses see it, and take longer to"
    " sample.",
    # Adapter
    "adapter.type": "lora is right for most: a fraction of the memory and time. dora learns a little better and is"
    " slower. full takes weights, gradients and optimizer in float32: about 16 bytes a parameter.",
    "adapter.rank": "8 to 16 do for preferences, 32 and more for new knowledge. Memory and file grow with it, speed"
    " hardly changes.",
    "adapter.alpha": "Acts like a learning rate of the adapter: alpha / rank is how much it counts. Twice the rank is"
    " usual; when you raise rank, raise it too.",
    "adapter.scale": "For files of mlx-lm, where 20 is usual. Leave it out, and alpha / rank counts.",
    "adapter.dropout": "0.05 to 0.1 can help where a small data set is seen many times; DPO over one pass needs none.",
    "adapter.num_layers": "Fewer blocks take less memory and time, because nothing below them is trained, and the"
    " frozen part is computed once. -1 learns the most.",
    "adapter.keys": "Attention alone (q_proj, v_proj) is smaller and faster, all linear layers learn better. Names"
    " that the model does not have are refused.",
    # Optimization
    "optimization.optimizer": "adamw is the one all the advice is for. lion wants a learning rate 3 to 10 times"
    " smaller, sgd a far larger one; adafactor and lion keep less in memory.",
    "optimization.optimizer_config": "The defaults are good. Betas nearer to 1 average over more steps.",
    "optimization.weight_decay": "Pulls weights to zero a little each step. With LoRA and short runs it hardly"
    " matters.",
    "optimization.max_grad_norm": "1.0 takes the edge off single wild batches. Where grad_norm lies above it all the"
    " time, the learning rate is what is scaled in truth.",
    "optimization.lr_scheduler": "cosine and linear end at 0, which lets the run settle; constant suits a run that may"
    " be made longer.",
    # Gates and guard
    "constraints.kl_target": "Only the gate and the guard read it: training does not hold to it by itself. Raise it"
    " and the gate asks less, not the model more.",
    "constraints.preference_gap_target": "Compared with the gap of the policy's rewards and of the data. A larger gap"
    " usually costs KL.",
    "kl_guard.action": "stop and rollback save a night that goes wrong; halve_learning_rate and raise_beta try to"
    " bring it back. none leaves it to you.",
    "kl_guard.kl_limit": "A little above the gate's limit lets a run swing without being stopped for it.",
    "kl_guard.beta_factor": "2 is firm; with 1.2 it takes several evaluations to bite.",
    "kl_guard.patience": "1 acts at the first evaluation above the limit; 2 or 3 wait whether it was chance.",
    "kl_guard.max_actions": "When that many did not help, the settings are wrong and the run stops.",
    # Machine
    "compute.fp16": "Half the memory for weights and activations and much faster on a GPU; on a CPU float32 is used"
    " all the same.",
    "compute.dtype": "bfloat16 is right on Apple GPUs. float16 needs loss scaling, float32 twice the memory; results"
    " differ in the third digit.",
    "compute.device": "auto takes the GPU where MLX has one. cpu is for trying things out: many times slower.",
    "compute.num_devices": "Kept so that files from elsewhere load. One device computes; raise"
    " gradient_accumulation_steps for the effective batch of several.",
    "compute.gradient_checkpointing": "About a third slower for a fraction of the activations: the first thing to turn"
    " on when training does not fit. Runs that do not train take no notice of it.",
    "compute.trunk_cache_gb": "With adapters on the last blocks only, epochs after the first skip the frozen ones. It"
    " is disk, read back each epoch; 0 computes them again each time.",
    "compute.distributed.hosts": "hosts.json of the workspace, written by mlx.distributed_config; check it first with"
    " 'dpotui cluster check --hosts hosts.json'.",
    "compute.distributed.backend": "jaccl where Thunderbolt 5 cables and RDMA are there, ring everywhere else.",
    "compute.distributed.shares": "measure once, and write what the log says it found; a host that has to wait is time"
    " lost on all of them.",
    "compute.environment.metal_fast_synch": "Leave it out on one Mac: nothing there waits often enough. Over several it"
    " takes a tenth of the time between them, and MLX's own pages advise against it since it can lock the GPU until"
    " the Mac is restarted.",
    "compute.environment.metal_preallocate": "Kept because checklists name it. Set or not, MLX does the same; the log"
    " and Hardware say so. wired_limit_gb is what keeps memory in place.",
    "compute.environment.relax_gpu_watchdog": "For runs that end with 'Impacting Interactivity'. A display that sleeps"
    " helps more surely, and over SSH with none attached it is not needed.",
    "compute.environment.tokenizers_parallelism": "On is the default of tokenizers. false keeps cores free for other"
    " work while data are read, and silences the warning about forks.",
    "compute.environment.wired_limit_gb": "Right as it is. Less leaves more to other programs; more than Metal"
    " recommends wants sudo sysctl iogpu.wired_limit_mb first.",
    "compute.environment.cache_limit_gb": "A few GB keep a run with many lengths from holding memory that it no longer"
    " needs; 0 gives all back at once, which is slower.",
    "compute.environment.memory_limit_gb": "A guideline, no wall: a step that needs more takes more. To stay within"
    " memory, lower the batch size.",
    # Names
    "logging.wandb_project": "Groups runs by name in lists, exports and trackers. By itself it sends nothing: no"
    " account is needed.",
    "logging.wandb_run_name": "The name under which you find the run again: say in it what you changed.",
    "logging.output_dir": "One folder a run, so that the checkpoints of one experiment are not taken for those of"
    " another.",
    "logging.trackers": "Without one nothing leaves this machine. Each is fed by a process of its own from runs.db:"
    " one that fails costs a warning and no training. 'dpotui track' sends a run afterwards as well.",
    "logging.wandb_mode": "offline where the machine has no net, or where somebody is to look first. Configuration,"
    " metrics and measured values are sent; prompts, responses, models and logs never.",
    "logging.mlflow_tracking_uri": "A server is for several people; the database in outputs is seen with 'mlflow ui'."
    " A name or password belongs into the environment, not here.",
    "logging.tensorboard_dir": "Runs that lie in one folder are drawn together. Event files grow by about 1 kB a"
    " report.",
    "generate:logging.output_dir": "A stopped run goes on from what lies there, so give each attempt its own.",
    "judge:logging.output_dir": "Verdicts are kept there as they come: a stopped run does not ask them again.",
    "eval:logging.output_dir": "Answers and verdicts item by item: read there what a score does not say.",
    # Generation
    "generation.responses_per_prompt": "Time goes with it. More responses give a wider gap between best and worst; 4"
    " to 8 are usual.",
    "generation.max_tokens": "Time and memory grow with the longest response. Too short cuts answers, and a judge"
    " takes cut ones for bad ones.",
    "generation.temperature": "Higher makes responses differ, which pairs need, and more of them poor; 0.7 to 1.0 is"
    " usual. 0 gives the same one each time.",
    "generation.top_p": "0.9 to 0.95 cuts off the unlikely tail, where nonsense comes from.",
    "generation.min_p": "0.05 lets a high temperature stay readable: it cuts more where the model is sure.",
    "generation.top_k": "Seldom needed beside top_p; 40 to 50 where it is used.",
    "generation.repetition_penalty": "1.1 breaks loops of small models; more hurts code and lists, which repeat"
    " rightly.",
    "generation.recipes": "Spreading responses over a careful and a wild recipe, or a better and a worse model, makes"
    " the gap between chosen and rejected larger.",
    "generation.recipes.NAME.model": "A weaker model here gives rejected answers cheaply; too weak, and DPO learns"
    " only to tell the models apart.",
    "generation.recipes.NAME.count": "Recipes with a count come first; together they cannot exceed"
    " responses_per_prompt.",
    "generation.recipes.NAME.temperature": "Low for careful answers, above 1 for varied ones.",
    "generation.recipes.NAME.top_p": "Lower is safer and more alike, 1 leaves all tokens in.",
    "generation.recipes.NAME.min_p": "Pair a high temperature with 0.05 to keep it readable.",
    "generation.recipes.NAME.top_k": "A small number makes answers plain and alike.",
    "generation.recipes.NAME.repetition_penalty": "Raise it for a small model that loops.",
    "generation.recipes.NAME.max_tokens": "Short limits for one recipe alone let length give away the recipe to a"
    " judge.",
    "generation.distinct": "Pairs of equal responses teach nothing. Costs redraws where the model has few answers to"
    " give.",
    "generation.redraws": "0 leaves an empty response out at once; more cost time where a model likes to say nothing.",
    "generation.batch_size": "auto fits half of the free memory. Fewer at a time are slower; responses stay the same.",
    "generation.seed": "The same seed gives the same responses, however they are batched and wherever it was stopped.",
    # Judging
    "judges": "Two judges of different kinds show by their agreement how far to believe either; each asks everything"
    " and takes its time.",
    "comparing.per_prompt": "8 responses have 28 pairs: drawing 7 of them costs a quarter and still ranks them"
    " roughly.",
    "comparing.seed": "Draws other comparisons where not all are asked.",
    "pairing.judge": "Take the judge that agrees best with people ('dpotui annotate agreement').",
    "pairing.strategy": "best_worst gives few, clear pairs; all gives many, and some hardly differ; adjacent teaches"
    " fine differences.",
    "pairing.min_gap": "0.1 to 0.2 drops pairs that are nearly ties: fewer and cleaner pairs, and a larger average"
    " gap.",
    "pairing.max_pairs_per_prompt": "1 keeps every prompt equally heavy; more lets prompts with many responses count"
    " more.",
    "pairing.require_agreement": "Fewer pairs, with fewer wrong labels; does nothing with one judge.",
    # Evaluation
    "evaluation.subject": "Measure the baseline first and once: retention of the final model is a share of it.",
    "evaluation.parts": "For one number quickly. Gates of parts that were left out stay UNKNOWN.",
    "evaluation.seed": "Baseline and final model must be asked the same items: keep it the same for both.",
    "evaluation.batch_size": "Fewer at a time take less memory and longer; scores stay the same but for rounding.",
    "capability_benchmarks": "What is not measured here can be lost unseen. Take those that stand for what the model"
    " is for, and keep their items out of the training data.",
    "capability_benchmarks.NAME.dataset": "Downloaded by lm-evaluation-harness on first use; with file nothing is.",
    "capability_benchmarks.NAME.subset": "A few subjects are faster, and their mean is another number than that of"
    " all.",
    "capability_benchmarks.NAME.task": "Another task is another number, even under the same name: do not change it"
    " between baseline and final.",
    "capability_benchmarks.NAME.file": "Makes the measurement repeatable without a network.",
    "capability_benchmarks.NAME.shots_file": "Examples from the items themselves would give answers away: name another"
    " file.",
    "capability_benchmarks.NAME.answer": "exact is strict about form and punishes chatty models; contains is lenient"
    " and can be met by chance. multiple_choice needs no writing and is the fastest.",
    "capability_benchmarks.NAME.pattern": "Try it on a few answers first: one that never matches scores 0.",
    "capability_benchmarks.NAME.num_shots": "More examples raise scores of base models and lengthen every question."
    " Published scores mean a certain number: MMLU 5, GSM8K 8.",
    "capability_benchmarks.NAME.metric": "pass@1 is for code that is run, accuracy for the rest.",
    "capability_benchmarks.NAME.baseline_threshold": "Makes a gate. Below the chance level (0.25 for four choices) it"
    " asks nothing.",
    "capability_benchmarks.NAME.limit": "100 items give a score to about 10 points, 1000 to 3. A loss of a few points"
    " cannot be seen with few items.",
    "capability_benchmarks.NAME.max_tokens": "Reasoning that is cut counts as wrong: GSM8K wants 256 or more.",
    "capability_benchmarks.NAME.stop": "Ends an answer early and saves time; one that occurs in right answers cuts"
    " them.",
    "capability_benchmarks.NAME.apply_chat_template": "On for chat models, off for base models; the same for both that"
    " are compared.",
    "capability_benchmarks.NAME.run_generated_code": "The code is confined, which limits harm and does not rule it"
    " out. Without it HumanEval stays UNKNOWN.",
    "alignment_evaluation.preference_validation.test_set": "Its prompts must be new to SFT, DPO and the reward model,"
    " or the win rate flatters.",
    "alignment_evaluation.preference_validation.metric": "The share of prompts on which the new model is preferred;"
    " ties count half.",
    "alignment_evaluation.preference_validation.baseline_threshold": "0.5 is as good as before. Whether it is truly"
    " exceeded shows in the interval.",
    "alignment_evaluation.preference_validation.limit": "200 prompts give the win rate to about 7 points; four times"
    " as many halve that.",
    "alignment_evaluation.preference_validation.category_field": "Shows where the model became better and where worse;"
    " rows without the field count together.",
    "alignment_evaluation.preference_validation.max_tokens": "Both models get the same. Answers that are cut lose"
    " against whole ones.",
    "alignment_evaluation.preference_validation.temperature": "0 makes the comparison repeatable; what users see may"
    " be sampled.",
    "alignment_evaluation.preference_validation.top_p": "Without say at temperature 0.",
    "alignment_evaluation.preference_validation.max_prompt_length": "Long prompts left out make it a test of short"
    " ones.",
    "alignment_evaluation.preference_validation.apply_chat_template": _TEMPLATE_OFF,
    "alignment_evaluation.preference_validation.judge": "Fast and repeatable, with the judge's own taste. Let people"
    " vote on some of the same prompts and look at the agreement.",
    "alignment_evaluation.human_eval.sample_size": "100 answers take a person one to two hours, and a mean mark is"
    " good to about 0.4.",
    "alignment_evaluation.human_eval.criteria": "Each is one more mark for every answer.",
    "alignment_evaluation.human_eval.scale": "Marks of different scales cannot be put together: keep it for a project.",
    "model.reference": "Name the model before the first round of DPO, and the KL tells the whole way that all rounds"
    " went together.",
    "perplexity.validation_file": "A perplexity that rises after DPO on SFT's own examples tells of lost fluency.",
    "perplexity.max_prompt_length": "Use the limits of SFT, or the numbers cannot be compared.",
    "perplexity.max_response_length": "Use the limits of SFT, or the numbers cannot be compared.",
    "perplexity.apply_chat_template": "A template that SFT did not use makes the perplexity look bad.",
    "samples.prompts_file": "For reading, not for a score: take prompts whose answers you can judge yourself.",
    "samples.count": "As many as somebody will read; each is answered by every model.",
    "samples.max_tokens": "Enough to see whether an answer ends well; time grows with it.",
    "samples.temperature": "0 shows each model's first choice and is repeatable.",
    "samples.apply_chat_template": _TEMPLATE_OFF,
    "final.kl_samples": "The final gate's verdict rests on them: more make the interval narrower, at the cost of time.",
    "final.kl_max_tokens": "Take the lengths that the model answers in: drift often shows late.",
    "quality_thresholds.kl_divergence.max": "0.1 nats a token keeps a model recognizable; above 0.3 answers are often"
    " clearly others.",
    "quality_thresholds.preference_gap.min": "Lower it only together with a reason: the gap is what DPO was for.",
    "quality_thresholds.capability_retention.min": "0.95 forgives what chance takes away; benchmarks with few items"
    " swing by more than that.",
    "quality_thresholds.decontamination.min": "Benchmarks that were trained on measure memory. 0.9 tolerates a tenth"
    " of the pairs.",
    "quality_thresholds.perplexity.max": "Depends on model and data: measure the baseline once and set it a little"
    " above.",
    # Iterations
    "iteration.max_iterations": "Two or three rounds bring most of what there is; later ones mostly drift. A round"
    " takes as long as its DPO, its evaluation and, with on_policy, its answers and their judging together.",
    "iteration.reference": "previous lets every round move on by as much as the KL limit allows, so that the distance"
    " from the start adds up: the evaluation measures it against the first reference. first keeps all rounds together"
    " within one limit, and stops bringing anything once it is reached.",
    "iteration.settings": "Smaller steps for later rounds: a policy that has been through DPO needs less. A person who"
    " decides to continue can change them for the rounds that follow.",
    "data.on_policy": "Fresh pairs show the policy what it does wrong now; those it has learned from already teach it"
    " little more and make KL grow. The judge must be better than the policy, or it learns the judge's faults.",
    "data.train_on": "fresh follows the policy; all forgets less, and a round takes no longer, as its steps are given.",
    "steps.dpo_file": "The first round starts from its policy_model and reference_model; steps, rate and β hold for"
    " each round.",
    "steps.generate_file": "Its model is replaced by the policy of the round, its files by the round's own. Prompts of"
    " the validation and test files are left out of the pairs.",
    "steps.judge_file": "Its input and output are the round's. A reward model of stage 4 is quick; it was trained on"
    " the first pairs, and knows less of answers that have moved away from them.",
    "steps.evaluate_file": "Its final model is replaced by the round's. Fewer parts and a limit on benchmarks make"
    " rounds cheaper; the same for all of them, or they cannot be compared.",
    "score.fact": "eval.win_rate asks what the rounds are for; dpo.preference_accuracy costs nothing more, and rises"
    " also where answers do not become better.",
    "score.goal": "minimize is for figures such as dpo.kl_divergence or a perplexity.",
    "convergence.patience": "1 stops at the first round that brought nothing sure; with few prompts no single round is"
    " sure, so 2 is safer.",
    "convergence.min_gain": "Half a point of win rate is seldom worth a night.",
    "decision.by": "A person reads what came out before it is built upon. A rule goes on through the night, and rolls"
    " back where a round broke a limit.",
    "logging.model_dir": "eval_config.yaml and later work name this folder, so that a rollback reaches them: the files"
    " in it are then those of the better round.",
    **{f"judges.NAME.{key}": text for key, text in _JUDGE.items()},
}

_ANY_JUDGE = "alignment_evaluation.preference_validation.judge."


def practice(kind: str, path: str) -> str:
    """What a key (`core.config.keys.keys`, names as NAME) of a kind of configuration does in practice; "" if nothing
    is known of it."""
    if path.startswith(_ANY_JUDGE):
        path = f"judges.NAME.{path.removeprefix(_ANY_JUDGE)}"
    return PRACTICE.get(f"{kind}:{path}") or PRACTICE.get(path, "")
