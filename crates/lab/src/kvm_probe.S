# Boot sector of the KVM probe: real mode -> paging and long mode -> one exit code.
# Rebuild: as --64 kvm_probe.S -o p.o && ld -Ttext 0x7c00 --oformat binary p.o -o kvm_probe.bin
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    # Page tables at 0x1000..0x4000: the first 2 MiB onto themselves.
    movw $0x1000, %di
    movw $0x1800, %cx
    cld
    rep stosw
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x0083, 0x3000
    movl $0x1000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    lgdt gdt_pointer
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmp $0x08, $long
    .code64
long:
    xorl %eax, %eax
    cpuid
    rdtsc
    movb $0x10, %al
    outb %al, $0xf4
halt:
    hlt
    jmp halt
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
    .org 510
    .word 0xaa55
