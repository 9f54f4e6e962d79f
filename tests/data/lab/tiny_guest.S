# Boot sector of a guest that is ready in no time: it counts the bytes that its serial console gets, once in memory and
# once in the disk's second sector, and tells both counts after each. It powers off when it is asked to by ACPI, until it
# has heard a `k`.
# Rebuild: as --32 tiny_guest.S -o t.o && ld -m elf_i386 -Ttext 0x7c00 --oformat binary t.o -o tiny_guest.bin
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movb %dl, drive
    # COM1: 115200 baud, 8N1, FIFO.
    movw $0x3fb, %dx
    movb $0x80, %al
    outb %al, %dx
    movw $0x3f8, %dx
    movb $1, %al
    outb %al, %dx
    incw %dx
    movb $0, %al
    outb %al, %dx
    movw $0x3fb, %dx
    movb $3, %al
    outb %al, %dx
    movw $0x3fa, %dx
    movb $0x07, %al
    outb %al, %dx
    movw $0x3fc, %dx
    movb $3, %al
    outb %al, %dx
    # The power button sets its status bit only where it is enabled.
    movw $0x602, %dx
    movw $0x100, %ax
    outw %ax, %dx
    movb $2, %ah
    call disk
    movw $hello, %si
1:  lodsb
    testb %al, %al
    jz wait
    call put
    jmp 1b
wait:
    sti
    hlt
next:
    cmpb $0, deaf
    jne 2f
    movw $0x600, %dx
    inw %dx, %ax
    testw $0x100, %ax
    jnz off
2:  movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz wait
    movw $0x3f8, %dx
    inb %dx, %al
    cmpb $'k', %al
    jne 3f
    movb $1, deaf
3:  incb ram
    incb 0x8000
    movb $3, %ah
    call disk
    movb $'r', %al
    call put
    movb ram, %al
    call digit
    movb $' ', %al
    call put
    movb $'d', %al
    call put
    movb 0x8000, %al
    call digit
    movb $'\r', %al
    call put
    movb $'\n', %al
    call put
    jmp next
off:
    movw $0x604, %dx
    movw $0x2000, %ax
    outw %ax, %dx
    hlt
    jmp off
# AH: 2 reads the second sector, 3 writes it.
disk:
    movb $1, %al
    movw $2, %cx
    movb $0, %dh
    movb drive, %dl
    movw $0x8000, %bx
    int $0x13
    ret
digit:
    xorb %ah, %ah
    movb $10, %bl
    divb %bl
    movb %ah, %al
    addb $'0', %al
put:
    pushw %ax
    movw $0x3fd, %dx
4:  inb %dx, %al
    testb $0x20, %al
    jz 4b
    popw %ax
    movw $0x3f8, %dx
    outb %al, %dx
    ret
hello:
    .asciz "ready\r\n"
drive: .byte 0
deaf: .byte 0
ram: .byte 0
    .org 510
    .word 0xaa55
