"""Options of other programs (nanoGPT, char-rnn, fairseq, JoeyNMT, Hugging Face), and ours for the same thing."""

OF_RUNS = {
    "max_steps": "steps iterations max_iters max_update updates",
    "max_minutes": "minutes",
    "validations": "eval_interval eval_steps eval_val_every validate_interval_updates validation_freq",
    "save_minutes": "save_steps save_interval",
    "clip": "grad_clip clip_norm max_grad_norm clip_grad_norm gradient_clip_val",
    "accumulate": "gradient_accumulation_steps update_freq batch_multiplier accumulate_grad_batches",
    "precision": "fp16 bf16 dtype",
    "compile": "torch_compile",
    "recompute": "gradient_checkpointing activation_checkpointing checkpoint_activations",
    "devices": "gpus distributed_world_size",
    "accelerator": "gpu device gpuid use_cuda",
    "strategy": "fsdp ddp_backend",
    "runs": "output out out_dir output_dir save_dir checkpoint_dir model_dir default_root_dir",
    "resume": "checkpoint ckpt init_from restore_file resume_from_checkpoint ckpt_path continue restart",
    "init": "init_from finetune_from_model pretrained load_model",
    "logger": "wandb wandb_log report_to tracker loggers tensorboard mlflow trackio",
    "wandb_name": "wandb_run_name run_name",
    "import": "user_dir",
}
OF_DATA = {
    "data": "input file dataset data_dir train",
    "length": "seq_len seq_length block_size bptt tokens_per_sample",
    "batch_size": "batchsize bs per_device_train_batch_size",
    "batch_tokens": "max_tokens_per_batch",
    "val_fraction": "val_frac",
    "documents": "sample_break_mode",
    "source": "source_lang src_lang",
    "target": "target_lang trg_lang tgt_lang",
    "joint": "joined_dictionary",
    "vocab_size": "voc_limit",
    "min_count": "voc_min_freq",
    "num_workers": "dataloader_num_workers",
}
OF_TASKS = {
    "lr": "learning_rate",
    "schedule": "lr_scheduler lr_scheduler_type scheduling decay_lr learning_rate_decay",
    "warmup": "warmup_iters warmup_updates warmup_steps warmup_ratio",
    "weight_decay": "wd",
    "beta2": "adam_beta2 adam_betas",
    "optimizer": "optim",
    "tie_embeddings": "share_all_embeddings share_decoder_input_output_embed tied_softmax tied_embeddings",
    "label_smoothing": "label_smoothing_factor",
    "backbone": "model network arch",
    "encoder": "arch",
    "backbone.hidden_size": "hidden hidden_size rnn_size nhid hidden_dim",
    "backbone.num_layers": "layers num_layers n_layer nlayers n_layers",
    "backbone.num_heads": "n_head num_heads",
    "backbone.input_size": "n_embd d_model emsize embedding_size embedding_dim",
    "encoder.num_layers": "encoder_layers",
    "decoder.num_layers": "decoder_layers",
    "encoder.input_size": "encoder_embed_dim",
    "decoder.input_size": "decoder_embed_dim",
    "encoder.num_heads": "encoder_attention_heads",
    "decoder.num_heads": "decoder_attention_heads",
}
OF_DECODING = {
    "prompt": "text start primetext",
    "samples": "num_samples n num_return_sequences sampling sampling_topk sampling_topp",
    "max_tokens": "max_length max_new_tokens length",
    "top_k": "topk",
    "top_p": "topp",
    "temperature": "temp do_sample",
    "logit_bias": "sequence_bias",
    "stop": "stop_strings",
    "beam": "beam_size num_beams",
    "n_best": "nbest",
    "length_penalty": "lenpen beam_alpha",
    "min_length": "min_len min_output_length",
    "max_length": "max_len_a max_len_b max_output_length",
    "ensemble": "path",
    "attention_map": "print_alignment save_attention",
    "json": "save_scores",
}


def ours(name: str) -> list[str]:
    """Names of our options that an option of another program may mean."""
    groups = (OF_RUNS, OF_DATA, OF_TASKS, OF_DECODING)
    return [own for group in groups for own, others in group.items() if name in others.split()]
